"""What candidates and networks cost: parameters, multiply-adds, latency."""
