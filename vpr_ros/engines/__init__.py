"""What makes an encoder fast on a device, or runs one of another kind."""
