// Finds and loads the addon on first use, never at import, so that importing works on every platform.
import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { CheckpointError } from './errors.js'
import type { NativeModule } from './native.js'

const packageRoot = fileURLToPath(new URL('..', import.meta.url))

let loaded: NativeModule | undefined

/**
 * The addon, loaded once per thread.
 *
 * `RDMA_CHECKPOINT_ADDON` names a file to load instead of the installed one; the tests use it for builds of
 * their own.
 *
 * @throws CheckpointError `PLATFORM_UNSUPPORTED` anywhere but on Linux; `ADDON_NOT_FOUND` when no build for this
 * machine is there or it cannot be loaded.
 */
export function loadNative(): NativeModule {
  loaded ??= load()
  return loaded
}

function load(): NativeModule {
  if (process.platform !== 'linux') {
    throw new CheckpointError(
      'PLATFORM_UNSUPPORTED',
      `rdma-checkpoint runs on Linux, and this is ${process.platform}. Importing it and its types work here; ` +
        'units and clients do not.',
      {
        outcome: 'none',
        help: 'Run it under WSL2 on Windows, or in a Linux container (docker run --rm -it node:20).',
      },
    )
  }
  const require = createRequire(import.meta.url)
  const override = process.env.RDMA_CHECKPOINT_ADDON
  try {
    if (override) return require(path.resolve(override)) as NativeModule
    const nodeGypBuild = require('node-gyp-build') as (directory: string) => unknown
    return nodeGypBuild(packageRoot) as NativeModule
  } catch (cause) {
    throw addonNotFound(override, cause)
  }
}

function addonNotFound(override: string | undefined, cause: unknown): CheckpointError {
  const target = [
    `platform ${process.platform}`,
    `architecture ${process.arch}`,
    `libc ${libc()}`,
    `Node-API ${process.versions.napi} (9 is needed)`,
    `Node ${process.versions.node}`,
  ].join(', ')
  const reason = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : String(cause)
  const looked = override
    ? `RDMA_CHECKPOINT_ADDON=${override}`
    : [
        ...(process.env.PREBUILDS_ONLY ? [] : [folder('build/Release')]),
        folder(`prebuilds/${process.platform}-${process.arch}`),
      ].join('; ')
  return new CheckpointError(
    'ADDON_NOT_FOUND',
    `The native addon could not be loaded for ${target}. Looked for: ${looked}. Reason: ${reason}`,
    { cause, outcome: 'none', help: override ? overrideHelp : installHelp() },
  )
}

const overrideHelp =
  'Unset RDMA_CHECKPOINT_ADDON to use the installed addon, or build the test addons: npm run addon:test'

function installHelp(): string {
  if (isBundled()) {
    return (
      'This code is in a bundle, and a native addon cannot be. Leave the package out of it: --external:rdma-checkpoint ' +
      'with esbuild, external: ["rdma-checkpoint"] with Rollup and Vite, externals with webpack; and install it beside the bundle.'
    )
  }
  if (!packageRoot.split(path.sep).includes('node_modules')) return 'In a checkout, build it with: npm run addon'
  return (
    'A prebuild may be missing because the package was installed for another machine; install it on this one: ' +
    'npm install rdma-checkpoint. Where no prebuild exists for this platform, build it with a C++20 compiler, ' +
    'make and Python 3 (on Debian: apt-get install g++ make python3): npm install --no-save node-gyp@12 node-addon-api@8 && ' +
    'node node_modules/rdma-checkpoint/native/build/addon.mjs'
  )
}

/** A bundler has moved this file out of its package, and nothing that is looked for beside it is there. */
function isBundled(): boolean {
  try {
    const { name } = JSON.parse(readFileSync(path.join(packageRoot, 'package.json'), 'utf8')) as { name?: unknown }
    return name !== 'rdma-checkpoint'
  } catch {
    return true
  }
}

/** A folder and which addons are in it. */
function folder(name: string): string {
  const directory = path.join(packageRoot, name)
  try {
    const found = readdirSync(directory).filter((file) => file.endsWith('.node'))
    return `${directory} (${found.length === 0 ? 'no .node file' : `has ${found.join(', ')}`})`
  } catch {
    return `${directory} (not there)`
  }
}

function libc(): string {
  const header = (process.report.getReport() as { header?: { glibcVersionRuntime?: string } }).header
  return header?.glibcVersionRuntime ? `glibc ${header.glibcVersionRuntime}` : 'musl'
}
