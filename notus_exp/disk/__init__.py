"""What lies on the disk and how it is named: artifacts, events, caches."""
