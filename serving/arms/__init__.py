"""Champion and challenger side by side: who is given to which, and when the challenger is taken back."""
