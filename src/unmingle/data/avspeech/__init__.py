"""AVSpeech and AudioSet: the passages that their tables name, downloaded, and made into training files."""
