"""What a person says, or what is said of them, in words: wishes, tags and profiles."""
