"""Feedback: what SES says later of mail it took, verified, understood and stored."""
