"""The library behind the book: MRI operator, TV reconstruction, networks, attack and 1-D theory."""
