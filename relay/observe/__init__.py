"""What operators see: the mail log (one line per fact) and the metrics (closed label sets)."""
