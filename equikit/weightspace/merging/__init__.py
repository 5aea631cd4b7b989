"""What is made of aligned networks: means, lines, transferred training runs."""
