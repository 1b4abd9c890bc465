"""What is compared: both frameworks' numbers, and the verdict on them."""
