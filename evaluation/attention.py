"""Which of torch's attention kernels are used."""

from torch.nn.attention import SDPBackend

# On a GPU decoders do without cuDNN's attention: with few queries it does not give the same bits twice.
REPEATABLE = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
