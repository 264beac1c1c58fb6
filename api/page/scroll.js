// Keeps the newest text in view, for a reader who is at the end, and never moves the page of one who is not.

const NEAR = 4; // pixels: zoomed pages scroll by fractions

export class EndFollower {
  #scroller = document.scrollingElement;
  #text;
  #button;
  #isAtEnd = true;
  #isPressed = false;
  #top = 0;

  /** `text`: the element whose growth is followed. `button`: goes to the end; shown when the reader is not there. */
  constructor(text, button) {
    this.#text = text;
    this.#button = button;
    addEventListener("scroll", () => this.#scrolled(), { passive: true });
    text.addEventListener("pointerdown", () => (this.#isPressed = true));
    for (const type of ["pointerup", "pointercancel"]) addEventListener(type, () => (this.#isPressed = false));
    button.addEventListener("click", () => this.goToEnd());
  }

  /** Goes to the end, and follows it from now on. */
  goToEnd() {
    this.#isAtEnd = true;
    this.follow();
  }

  /** Scrolls to the end if the reader is there. A selection that is being made would be torn. */
  follow() {
    if (this.#isAtEnd && !this.#isPressed && !this.#isSelecting()) {
      this.#scroller.scrollTop = this.#scroller.scrollHeight;
      this.#top = this.#scroller.scrollTop;
    }
    this.#button.hidden = this.#distance() < 80 || this.#isAtEnd;
  }

  #scrolled() {
    const { scrollTop } = this.#scroller;
    if (this.#distance() <= NEAR) this.#isAtEnd = true;
    else if (scrollTop < this.#top - 1) this.#isAtEnd = false; // growth alone never reduces it
    this.#top = scrollTop;
    this.#button.hidden = this.#isAtEnd || this.#distance() < 80;
  }

  #distance() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight;
  }

  #isSelecting() {
    const selection = getSelection();
    return !selection.isCollapsed && this.#text.contains(selection.anchorNode);
  }
}
