"""Questions with what is known of their answers: read, found in the documents, made, checked."""
