"""What is written: folders, tracks, pictures."""
