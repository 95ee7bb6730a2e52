"""Understanding and answering: embedder, intent tagger, language models behind one protocol."""
