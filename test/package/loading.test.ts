// What a user reads when the addon cannot be loaded.
import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { CheckpointError } from '../../src/errors.js'

/** A fresh copy of the loader, which keeps what it loaded. */
async function failure(): Promise<CheckpointError> {
  vi.resetModules()
  const { loadNative } = await import('../../src/native-loader.js')
  try {
    loadNative()
  } catch (error) {
    return error as CheckpointError
  }
  throw new Error('the addon loaded, and should not have')
}

afterEach(() => {
  vi.unstubAllEnvs()
  vi.unstubAllGlobals()
})

describe('an addon that cannot be loaded', () => {
  test('is reported with what was looked for and a command that helps', async () => {
    vi.stubEnv('RDMA_CHECKPOINT_ADDON', '/nowhere/missing.node')
    const error = await failure()
    expect(error.name).toBe(new CheckpointError('INTERNAL', '').name)
    expect(error.code).toBe('ADDON_NOT_FOUND')
    expect(error.outcome).toBe('none')
    for (const fact of [
      `platform ${process.platform}`,
      `architecture ${process.arch}`,
      'libc',
      'Node-API',
      '/nowhere/missing.node',
    ]) {
      expect(error.message).toContain(fact)
    }
    expect(error.help).toContain('npm run addon:test')
    expect(error.cause).toBeInstanceOf(Error)
  })

  test('says how to leave the package out of a bundle that it was put into', () => {
    // What a bundler does to the loader: its code lies in a file of somebody else's package.
    const folder = mkdtempSync(path.join(tmpdir(), 'rdma-checkpoint-bundle-'))
    try {
      cpSync(fileURLToPath(new URL('../../dist', import.meta.url)), path.join(folder, 'dist'), { recursive: true })
      writeFileSync(path.join(folder, 'package.json'), '{ "name": "app", "type": "module" }')
      const code =
        "import { loadNative } from './dist/native-loader.js'; try { loadNative() } catch (e) { console.log(e.code, e.help) }"
      const said = execFileSync(process.execPath, ['--input-type=module', '-e', code], {
        cwd: folder,
        encoding: 'utf8',
      })
      expect(said).toMatch(/^ADDON_NOT_FOUND .*--external:rdma-checkpoint/)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })

  test('says where Linux is to be had on another platform', async () => {
    vi.stubGlobal(
      'process',
      new Proxy(process, { get: (target, key) => (key === 'platform' ? 'win32' : Reflect.get(target, key)) }),
    )
    const error = await failure()
    expect(error.code).toBe('PLATFORM_UNSUPPORTED')
    expect(error.message).toContain('win32')
    expect(error.help).toMatch(/WSL2.*container/)
  })
})
