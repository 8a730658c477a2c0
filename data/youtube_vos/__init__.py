"""Dataset builder for YouTube-VOS 2018 and 2019."""
