/**
 * What `serve` reports to the service manager that started it (systemd, Type=notify): that it is ready, that it is stopping,
 * and, while it reads or writes a large pool, that it needs more time, so that no time-out has to know the pool's size.
 */
import { loadNative } from '../native-loader.js'

/** How much longer the service manager is asked to wait, and how often it is asked. */
const extendByMs = 30_000
const extendEveryMs = 5_000

export class ServiceManager {
  readonly #address: string | undefined
  readonly #onError: (error: unknown) => void
  #extending: NodeJS.Timeout | undefined

  /**
   * @param address $NOTIFY_SOCKET; without one every call does nothing
   * @param onError called when a notification fails; the unit serves in any case
   */
  constructor(address: string | undefined, onError: (error: unknown) => void) {
    this.#address = address
    this.#onError = onError
  }

  /** The pool is being opened or written back: keeps asking for more time until the next call of another method. */
  working(status: string): void {
    if (this.#address === undefined) return
    this.#endWork()
    const extend = () => this.#tell(`EXTEND_TIMEOUT_USEC=${extendByMs * 1000}`)
    this.#tell(`STATUS=${oneLine(status)}`)
    extend()
    this.#extending = setInterval(extend, extendEveryMs)
    this.#extending.unref()
  }

  ready(status: string): void {
    this.#endWork()
    this.#tell(`READY=1\nSTATUS=${oneLine(status)}`)
  }

  /** One line for `systemctl status`. */
  tell(status: string): void {
    this.#tell(`STATUS=${oneLine(status)}`)
  }

  stopping(): void {
    this.#tell('STOPPING=1')
    this.working('Writing back')
  }

  /** Nothing more will be reported. */
  ended(): void {
    this.#endWork()
  }

  #endWork(): void {
    clearInterval(this.#extending)
    this.#extending = undefined
  }

  #tell(state: string): void {
    if (this.#address === undefined) return
    try {
      loadNative().notifyServiceManager(this.#address, state)
    } catch (error) {
      this.#onError(error)
    }
  }
}

function oneLine(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, ' ')
}
