"""Words to regions: windows of tokens, LayoutLMv3, one label for each word, words joined to regions."""
