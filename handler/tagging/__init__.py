"""Words become regions: a page is cut into windows, LayoutLMv3 or LiLT labels the words, and neighbours are joined.

`encoding` cuts the Page into windows of at most 512 tokens; each word is answered by the window where it stands
farthest from a cut. `layoutlm` loads and runs batches; `architectures` says what differs between a LayoutLMv3 and a
LiLT. LayoutLMv3 runs on `fast_encoder`: the same weights with one fused attention, the biases of `position_bias`
looked up once for all layers, and `weights` to check names and shapes. LiLT, and training, use transformers' modules.
`decoding` makes one label per word and joins words to Regions. `tagger` is all of that in one call and needs no
TorchServe.
"""
