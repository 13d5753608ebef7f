/**
 * The base of every class that dispatches events to the application. It knows its events, so that a listener gets the event of
 * its type without a cast. A listener that throws, or whose promise rejects, fails alone: it affects neither the other listeners
 * nor the process, as it would with Node's own EventTarget. A process warning reports it, once for each listener.
 */

import { callUser, warn } from './user-code.js'

export type Listener<E extends Event> = ((event: E) => unknown) | { handleEvent(event: E): unknown }
export interface ListenerOptions {
  once?: boolean
  passive?: boolean
  capture?: boolean
  signal?: AbortSignal
}

/** A listener and the wrapper that is registered for it: the same one each time, so that it can be removed. */
const guards = new WeakMap<Listener<never>, (this: EventTarget, event: Event) => void>()
const warned = new WeakSet<Listener<never>>()

/** @typeParam Events the event of each type, by its name */
export class TypedEventTarget<Events extends { [Type in keyof Events]: Event }> extends EventTarget {
  override addEventListener<Type extends keyof Events & string>(
    type: Type,
    listener: Listener<Events[Type]> | null,
    options?: ListenerOptions | boolean,
  ): void {
    super.addEventListener(type, guarded(listener), options)
  }

  override removeEventListener<Type extends keyof Events & string>(
    type: Type,
    listener: Listener<Events[Type]> | null,
    options?: ListenerOptions | boolean,
  ): void {
    super.removeEventListener(type, guarded(listener), options)
  }
}

function guarded(listener: Listener<never> | null): Listener<Event> {
  // EventTarget itself refuses what is not a listener.
  if (typeof listener !== 'function' && (typeof listener !== 'object' || listener === null)) return listener as never
  const known = guards.get(listener)
  if (known !== undefined) return known
  const guard = function (this: EventTarget, event: Event): void {
    callUser(
      () =>
        typeof listener === 'function' ? listener.call(this, event as never) : listener.handleEvent(event as never),
      (error) => {
        if (warned.has(listener)) return
        warned.add(listener)
        warn(`A listener of "${event.type}" failed; what it listens to goes on.`, 'RDMA_CHECKPOINT_LISTENER', error)
      },
    )
  }
  guards.set(listener, guard)
  return guard
}
