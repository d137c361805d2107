"""A transcript with its differences from the reference marked, words as they were written."""

from html import escape

from evaluation.align import align_words, split_words


def diff(reference: str, hypothesis: str) -> str:
    """HTML: <del> what is missing, <ins> what was added, <mark title="…"> what was written for something else."""
    ref, hyp = split_words(reference), split_words(hypothesis)
    out = []
    for edit in align_words([word.key for word in ref], [word.key for word in hyp]):
        said = None if edit.reference_index is None else escape(ref[edit.reference_index].text)
        written = None if edit.hypothesis_index is None else escape(hyp[edit.hypothesis_index].text)
        match edit.kind:
            case "equal":
                out.append(f"{written}")
            case "substitute":
                out.append(f"<mark><del>{said}</del> {written}</mark>")
            case "delete":
                out.append(f"<del>{said}</del>")
            case "insert":
                out.append(f"<ins>{written}</ins>")
    return " ".join(out)
