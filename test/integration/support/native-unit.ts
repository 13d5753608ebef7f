// A unit without its JavaScript: medium, responder and one region, for tests of the native surface.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { NativeMedium, NativeModule, NativeResponder, NativeResponderOptions } from '../../../src/native.js'

export const regionBytes = 8 << 20
const regionStart = 1 << 20
const firstSession = 1n

export class NativeUnit {
  static async start(
    addon: NativeModule,
    medium: 'memory' | 'file' = 'memory',
    options: Partial<NativeResponderOptions> = {},
  ): Promise<NativeUnit> {
    const folder = mkdtempSync(path.join(tmpdir(), 'rdma-checkpoint-native-'))
    const bytes = regionStart + regionBytes
    const opened = await addon.Medium.open(
      medium === 'memory' ? { medium, bytes } : { medium, path: path.join(folder, 'pool'), create: true, bytes },
    )
    const responder = new addon.Responder(opened, { unitStart: 1n, ...options })
    const port = responder.listen('iwarp', '127.0.0.1', 0)
    responder.addRegion(1n, [regionStart, regionBytes], regionBytes, 1n, false)
    responder.addSession(firstSession)
    return new NativeUnit(folder, opened, responder, port)
  }

  #handle = 0n
  #lastSession = firstSession

  private constructor(
    private readonly folder: string,
    readonly medium: NativeMedium,
    readonly responder: NativeResponder,
    readonly port: number,
  ) {}

  /** Another session: each may have only some thousands of tokens that nobody has used. */
  addSession(): bigint {
    this.responder.addSession(++this.#lastSession)
    return this.#lastSession
  }

  /** Parameters of a connection, with a fresh token and, for data, a handle of its own. */
  ticket(
    rights: 'read' | 'write' | 'readWrite' | 'session' = 'readWrite',
    session = firstSession,
  ): { port: number; token: Uint8Array } {
    const token =
      rights === 'session'
        ? this.responder.issueToken({ kind: 'session', session })
        : this.responder.issueToken({
            kind: 'data',
            session,
            region: 1n,
            handle: ++this.#handle,
            rights,
            epoch: 1n,
            lifeMs: 600_000,
          })
    return { port: this.port, token }
  }

  /** What lies in the region now, read from the unit's own memory. */
  region(offset: number, length: number): Uint8Array {
    return this.medium.read(regionStart + offset, length)
  }

  async stop(): Promise<void> {
    await this.responder.stop()
    await this.medium.close()
    rmSync(this.folder, { recursive: true, force: true })
  }
}
