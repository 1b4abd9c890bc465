"""What either model did, layer by layer, laid side by side."""
