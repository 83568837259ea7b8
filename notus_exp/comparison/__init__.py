"""A study's runs compared."""
