"""What the benches send, ask and hear."""
