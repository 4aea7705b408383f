"""Figures in one colour-blind-safe style, each with alternative text and a caption. Used in every notebook."""

import base64
import io
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "red": "#D55E00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "yellow": "#F0E442",
    "black": "#000000",
}
"""The palette of Okabe and Ito (2008), "Color Universal Design": readers with any colour vision can tell it apart."""


def use_style() -> None:
    """Sets the course's style for every figure drawn from here on."""
    # A first start builds the font cache and would say so in the middle of a lesson.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    import matplotlib
    from cycler import cycler

    matplotlib.rcParams.update(
        {
            "figure.figsize": (7.0, 3.8),
            "figure.dpi": 110,
            "savefig.dpi": 110,
            "figure.constrained_layout.use": True,
            "axes.prop_cycle": cycler(color=list(COLOURS.values())[:6]),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#DDDDDD",
            "grid.linewidth": 0.8,
            "font.size": 10.5,
            "axes.titlesize": 11.5,
            "legend.frameon": False,
            "lines.linewidth": 2.0,
            "image.cmap": "cividis",
        }
    )


def show(figure: "Figure", *, alt: str, caption: str) -> None:
    """Shows a figure and, below it, its caption; then closes it. Every visible axis needs a label, with its unit.

    ``alt`` says in one to three sentences, for someone who cannot see the figure, what it shows and what one sees in
    it; it is saved with the image, where screen readers and HTML exports find it. ``caption`` is one sentence that says
    what to take from the figure.

    >>> import matplotlib.pyplot as plt
    >>> figure, axes = plt.subplots()
    >>> line = axes.plot([1, 2, 3], [3, 1, 2])
    >>> labels = axes.set(xlabel="epoch", ylabel="loss (nats)")
    >>> show(figure, alt="The loss falls, then rises.", caption="The loss over three epochs.")
    [figure] The loss falls, then rises.
    The loss over three epochs.
    """
    import matplotlib.pyplot as plt

    alt, caption = " ".join(alt.split()), " ".join(caption.split())
    if not alt:
        raise ValueError("alt is empty; say in words what the figure shows")
    if not caption:
        raise ValueError("caption is empty; say in one sentence what to take from the figure")
    missing = [fault for number, axes in enumerate(figure.axes, start=1) if (fault := _missing_label(number, axes))]
    if missing:
        raise ValueError(f"{'; '.join(missing)}; call axes.set(xlabel=..., ylabel=...), with the unit")
    image = io.BytesIO()
    figure.savefig(image, format="png", bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    encoded = base64.b64encode(image.getvalue()).decode("ascii")
    _publish({"image/png": encoded, "text/plain": f"[figure] {alt}"}, {"image/png": {"alt": alt}})
    _publish({"text/markdown": f"*{caption}*", "text/plain": caption})


def say(markdown: str) -> None:
    """Shows a sentence whose numbers come from the run, formatted as Markdown.

    >>> ndcg = 0.13812
    >>> say(f"EASE reaches an NDCG@10 of **{ndcg:.3f}**.")
    EASE reaches an NDCG@10 of **0.138**.
    """
    _publish({"text/markdown": markdown, "text/plain": markdown})


def _missing_label(number: int, axes: "Axes") -> str:
    """What is missing, or nothing; a label of the whole figure, or of axes that share the axis, will do."""
    if not axes.get_visible() or not axes.axison:
        return ""
    if axes.get_label() == "<colorbar>":
        return "" if axes.get_xlabel() or axes.get_ylabel() else f"the colour bar (axes {number}) has no label"
    name = f"axes {number}" + (f" ({axes.get_title()!r})" if axes.get_title() else "")
    for direction in ("x", "y"):
        shared = getattr(axes, f"get_shared_{direction}_axes")().get_siblings(axes)
        labels = [getattr(sibling, f"get_{direction}label")() for sibling in shared]
        if not any(label.strip() for label in [*labels, getattr(axes.figure, f"get_sup{direction}label")()]):
            return f"{name} has no label on its {direction} axis"
    return ""


def _publish(data: dict[str, str], metadata: dict[str, Any] | None = None) -> None:
    from IPython.core.interactiveshell import InteractiveShell

    if not InteractiveShell.initialized():
        print(data["text/plain"])
        return
    from IPython.display import display

    display(data, raw=True, metadata=metadata or {})  # type: ignore[no-untyped-call]
