"""What training minimises: pure functions and thin classes."""
