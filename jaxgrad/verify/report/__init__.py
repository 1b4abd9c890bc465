"""What was found, as data, and its forms for people and machines."""
