"""Gradio's own widgets in the page's colours; the islands carry their own sheets (`ui/components/base.css`)."""

import gradio as gr

FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "DejaVu Sans", "sans-serif")
MONO = ("ui-monospace", "DejaVu Sans Mono", "monospace")


def theme() -> gr.themes.Base:
    """System fonts only: a page that must work without a network asks for none."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.purple,
        neutral_hue=gr.themes.colors.slate,
        font=list(FONT),
        font_mono=list(MONO),
    ).set(
        body_background_fill="#f6f7f9",
        body_background_fill_dark="#14161b",
        body_text_color="#1c1e24",
        body_text_color_dark="#eceef3",
    )
