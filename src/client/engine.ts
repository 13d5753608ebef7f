/** The native thread that clients of one Node environment share; it ends with the last of them. */
import type { NativeEngine, NativeModule } from '../native.js'

export interface EngineLease {
  readonly engine: NativeEngine
  release(): Promise<void>
}

interface Shared {
  native: NativeModule
  engine: NativeEngine
  users: number
}

// A worker thread has modules, and so an engine, of its own.
let shared: Shared | undefined

export function acquireEngine(native: NativeModule): EngineLease {
  if (shared === undefined || shared.native !== native) {
    shared = { native, engine: new native.Engine({ name: 'rdmacp-client' }), users: 0 }
  }
  const mine = shared
  mine.users++
  let released: Promise<void> | undefined
  return {
    engine: mine.engine,
    release() {
      released ??= release(mine)
      return released
    },
  }
}

async function release(mine: Shared): Promise<void> {
  mine.users--
  if (mine.users > 0) return
  if (shared === mine) shared = undefined
  await mine.engine.close()
}
