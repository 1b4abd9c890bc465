"""What the meta-gradients share: the inner descent, and its guard against singular derivatives."""
