"""The widget that shows the pictures of the live view."""

import anywidget
import traitlets


class Picture(anywidget.AnyWidget):
    """A PNG that says where it was clicked: ``clicked`` is (row, column) in its own pixels."""

    _esm = """
    export default { render({ model, el }) {
      const image = document.createElement("img");
      image.style = "width: 100%; max-width: 1000px; cursor: crosshair; image-rendering: pixelated";
      const show = () => {
        URL.revokeObjectURL(image.src);
        image.src = URL.createObjectURL(new Blob([model.get("png")], { type: "image/png" }));
        image.alt = model.get("alt");
      };
      model.on("change:png", show);
      show();
      image.addEventListener("click", (event) => {
        const box = image.getBoundingClientRect();
        model.set("clicked", [
          Math.floor(((event.clientY - box.top) / box.height) * image.naturalHeight),
          Math.floor(((event.clientX - box.left) / box.width) * image.naturalWidth),
        ]);
        model.save_changes();
      });
      el.append(image);
    } };
    """
    png = traitlets.Bytes().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)
    clicked = traitlets.List(traitlets.Int()).tag(sync=True)
