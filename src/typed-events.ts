/** An EventTarget that knows its events, so that a listener gets the event of its type without a cast. */

export interface ListenerOptions {
  once?: boolean
  passive?: boolean
  capture?: boolean
  signal?: AbortSignal
}
export type Listener<E extends Event> = ((event: E) => void) | { handleEvent(event: E): void }

/** @typeParam Events the event of each type, by its name */
export class TypedEventTarget<Events extends { [Type in keyof Events]: Event }> extends EventTarget {
  override addEventListener<Type extends keyof Events & string>(
    type: Type,
    listener: Listener<Events[Type]> | null,
    options?: ListenerOptions | boolean,
  ): void {
    super.addEventListener(type, listener as Listener<Event>, options)
  }

  override removeEventListener<Type extends keyof Events & string>(
    type: Type,
    listener: Listener<Events[Type]> | null,
    options?: ListenerOptions | boolean,
  ): void {
    super.removeEventListener(type, listener as Listener<Event>, options)
  }
}
