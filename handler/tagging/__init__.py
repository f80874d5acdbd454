"""Words become regions: a page is cut into windows, LayoutLMv3 or LiLT labels the words, and neighbours are joined.

`encoding` cuts the Page into windows of at most 512 tokens; each word is answered by the window where it stands
farthest from a cut. `layoutlm` loads and runs batches; `architectures` says what differs between a LayoutLMv3 and a
LiLT. LayoutLMv3 runs on `fast_encoder`: the same weights with one fused attention, the biases of `position_bias`
looked up once for all layers, and `weights` to check names and shapes. LiLT, and training, use transformers' modules.
`decoding` joins words to Regions: word by word, or, where a checkpoint has a `box_prior` (what its project's
annotations say about boxes), by `segmentation`, which divides the `runs` of words that may be in a box by what stands
at their `junctions`. A box's score is the mean probability of its words, or, where the checkpoint has a `calibration`,
the probability that the box is right. `tagger` is all of that in one call and needs no TorchServe.
"""
