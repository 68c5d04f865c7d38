"""What is trained: networks, and what each method minimises."""
