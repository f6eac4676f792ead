"""StarGAN as a library: label spaces, networks, losses, the training loop, checkpoints and a fast translator.

Imports torch, safetensors and the standard library, nothing else.

Source: Choi et al., "StarGAN: Unified Generative Adversarial Networks for Multi-Domain Image-to-Image
Translation", arXiv 1711.09020.
"""
