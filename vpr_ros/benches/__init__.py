"""What the benches ask and send."""
