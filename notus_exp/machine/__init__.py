"""What this machine has, and who holds it."""
