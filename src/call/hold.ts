/**
 * What is pending holds the process: from a public call to the settlement of what it returned, whatever it waits for in between (a
 * timer, a socket, a reconnect that are all left alone when nobody waits). One count for the whole environment (the main thread, or
 * one worker), and one timer that is referenced while it is not zero.
 */
const longestTimerMs = 2 ** 31 - 1

let pending = 0
let timer: NodeJS.Timeout | undefined

export function hold(): void {
  if (pending++ > 0) return
  timer ??= setInterval(() => undefined, longestTimerMs)
  timer.ref()
}

export function release(): void {
  if (--pending === 0) timer?.unref()
}

/** The same promise as far as anybody can tell; pending it holds the process. */
export function held<T>(promise: Promise<T>): Promise<T> {
  hold()
  return promise.finally(release)
}

type Method = (this: unknown, ...parameters: unknown[]) => unknown

/**
 * Makes every method of a class hold the process while what it returned is pending: a promise, or a step of an async
 * iterator. Whoever adds a method need not think of it.
 * @param but methods that hold by other means, since they are called too often for another promise each, and those that are
 * called often and return neither
 */
export function holdsProcess(type: { readonly prototype: object }, but: readonly string[] = []): void {
  const { prototype } = type
  for (const [name, descriptor] of allOwn(prototype)) {
    const method: unknown = descriptor.value
    if (typeof method !== 'function' || name === 'constructor' || but.includes(String(name))) continue
    Object.defineProperty(prototype, name, { ...descriptor, value: holding(method as Method) })
  }
}

function allOwn(prototype: object): [string | symbol, PropertyDescriptor][] {
  const descriptors = Object.getOwnPropertyDescriptors(prototype) as Record<string | symbol, PropertyDescriptor>
  return Reflect.ownKeys(descriptors).map((key) => [key, descriptors[key] as PropertyDescriptor])
}

function holding(method: Method): Method {
  const wrapper: Method = function (...parameters) {
    const result = method.apply(this, parameters)
    if (result instanceof Promise) return held(result)
    return isIterator(result) && !heldIterators.has(result) ? holdingIterator(result) : result
  }
  Object.defineProperty(wrapper, 'name', { value: method.name, configurable: true })
  Object.defineProperty(wrapper, 'length', { value: method.length, configurable: true })
  return wrapper
}

interface AnyIterator {
  next: Method
  return?: Method
  throw?: Method
}

const heldIterators = new WeakSet<object>()

function isIterator(value: unknown): value is AnyIterator {
  return (
    typeof value === 'object' &&
    value !== null &&
    Symbol.asyncIterator in value &&
    'next' in value &&
    value.next instanceof Function
  )
}

function holdingIterator(iterator: AnyIterator): AnyIterator {
  heldIterators.add(iterator)
  for (const name of ['next', 'return', 'throw'] as const) {
    const step = iterator[name]
    if (step === undefined) continue
    Object.defineProperty(iterator, name, { value: holding(step), configurable: true, writable: true })
  }
  return iterator
}
