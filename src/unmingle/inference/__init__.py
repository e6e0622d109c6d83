"""From a recording to its tracks: chunks, speakers, streams, files."""
