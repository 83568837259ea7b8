"""What runs and studies leave as JSON and others read: a module a file, with its keys, their units and one reader."""
