// Makes prebuilds/<platform>-<arch>/rdma-checkpoint.<libc>.node. prebuildify wipes and removes build/Release, so
// it works in a staging folder that links to the sources, and the checkout's own build stays as it is.
import { mkdirSync, rmSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import prebuildify from 'prebuildify'
import { localNodeDirectory } from './node-headers.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))
const staging = path.join(root, 'build', 'prebuild')
rmSync(staging, { recursive: true, force: true })
mkdirSync(staging, { recursive: true })
for (const name of ['package.json', 'binding.gyp', 'native', 'node_modules']) {
  symlinkSync(path.join(root, name), path.join(staging, name))
}

process.env.JOBS ??= 'max'
const nodeDirectory = localNodeDirectory()
if (nodeDirectory) process.env.npm_config_nodedir ??= nodeDirectory
process.env.RC_PORTABLE = '1'
process.env.RC_TEST_ADDON = '0'
process.env.RC_ASAN_ADDON = '0'
rmSync(path.join(root, 'prebuilds', `${process.platform}-${process.arch}`), { recursive: true, force: true })
await promisify(prebuildify)({
  cwd: staging,
  out: root,
  napi: true,
  strip: true,
  tagLibc: true,
  targets: [{ runtime: 'node', target: process.versions.node }],
})
