"""What belongs to the course and not to the library: exercises with their checks, and the runner of all lessons."""
