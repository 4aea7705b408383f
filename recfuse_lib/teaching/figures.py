"""Figures in one colour-blind-safe style, each with alternative text and a caption.

Used in every notebook.
"""

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
"""The palette of Okabe and Ito (2008), which readers with any colour vision can tell apart."""


def use_style() -> None:
    """Set the course's figure style for every figure drawn from here on.

    Example:
        >>> import matplotlib
        >>> use_style()
        >>> matplotlib.rcParams["axes.prop_cycle"].by_key()["color"][0]
        '#0072B2'

    Source: the palette is Okabe and Ito (2008), "Color Universal Design".
    """
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
    """Show a figure with its alternative text and, below it, its caption; then close it.

    The alternative text says what the figure shows to someone who cannot see it. It is saved with
    the image in the notebook (``metadata["image/png"]["alt"]``), where screen readers and HTML
    exports find it.

    Args:
        figure: A Matplotlib figure. Every axis that is drawn has a label, with its unit.
        alt: What the figure shows and what one sees in it, one to three sentences.
        caption: One sentence that says what to take from the figure.

    Raises:
        ValueError: If ``alt`` or ``caption`` is empty, or an axis has no label.

    Example:
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
    missing = _missing_labels(figure)
    if missing:
        raise ValueError(f"{'; '.join(missing)}; call axes.set(xlabel=..., ylabel=...), with the unit")
    image = io.BytesIO()
    figure.savefig(image, format="png", bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    encoded = base64.b64encode(image.getvalue()).decode("ascii")
    _publish({"image/png": encoded, "text/plain": f"[figure] {alt}"}, {"image/png": {"alt": alt}})
    _publish({"text/markdown": f"*{caption}*", "text/plain": caption})


def say(markdown: str) -> None:
    """Show a sentence whose numbers come from the run, formatted as Markdown.

    Args:
        markdown: The text, usually an f-string with figures that the cells above computed.

    Example:
        >>> ndcg = 0.13812
        >>> say(f"EASE reaches an NDCG@10 of **{ndcg:.3f}**.")
        EASE reaches an NDCG@10 of **0.138**.
    """
    _publish({"text/markdown": markdown, "text/plain": markdown})


def _missing_labels(figure: "Figure") -> list[str]:
    missing = []
    for number, axes in enumerate(figure.axes, start=1):
        if not axes.get_visible() or not axes.axison:
            continue
        name = f"axes {number}" + (f" ({axes.get_title()!r})" if axes.get_title() else "")
        has_x = bool(_label(axes, "x") or figure.get_supxlabel())
        has_y = bool(_label(axes, "y") or figure.get_supylabel())
        if axes.get_label() == "<colorbar>":
            if not (axes.get_xlabel() or axes.get_ylabel()):
                missing.append(f"the colour bar (axes {number}) has no label")
            continue
        if not has_x:
            missing.append(f"{name} has no label on its x axis")
        if not has_y:
            missing.append(f"{name} has no label on its y axis")
    return missing


def _label(axes: "Axes", direction: str) -> str:
    """The label of an axis, its own or that of an axes it shares the axis with."""
    shared = axes.get_shared_x_axes() if direction == "x" else axes.get_shared_y_axes()
    siblings = [axes, *shared.get_siblings(axes)]
    labels = [getattr(sibling, f"get_{direction}label")() for sibling in siblings]
    return next((label for label in labels if label.strip()), "")


def _publish(data: dict[str, str], metadata: dict[str, Any] | None = None) -> None:
    from IPython.core.interactiveshell import InteractiveShell

    if not InteractiveShell.initialized():
        print(data["text/plain"])
        return
    from IPython.display import display

    display(data, raw=True, metadata=metadata or {})  # type: ignore[no-untyped-call]
