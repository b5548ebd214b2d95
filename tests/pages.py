"""What the tests of built pages share."""

SLOW = 10  # a shared machine may be this much slower than the times that are promised
EXPLORER = "notebooks/explorer.html"
DONE = ".explorer[data-done]:not([data-done=''])"  # what was asked is drawn
VIEW = "[data-chapter]:not([data-done=''])[data-done]"  # the same of a chapter's view


def pixels(page, which=1):
    """A picture of the explorer as a string."""
    return page.locator(".explorer-box > canvas:first-child").nth(which).evaluate("canvas => canvas.toDataURL()")


def numbers(page, column=0):
    column = page.locator(".explorer-column").nth(column)
    return {name: column.locator(f"[data-number={name}]").inner_text() for name in ("r", "rho", "alpha")}


def settle(page):
    """Wait until what is asked for is drawn."""
    page.wait_for_selector(DONE)


def move(slider):
    """One step by keyboard, away from the end it may be at."""
    slider.focus()
    at_end = slider.evaluate("input => input.value === input.max")
    slider.press("ArrowLeft" if at_end else "ArrowRight")
