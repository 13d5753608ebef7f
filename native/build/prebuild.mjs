// Makes prebuilds/<platform>-<arch>/rdma-checkpoint.glibc.node, by the name that node-gyp-build looks for. The objects are those of
// the checkout's own addon, so that nothing is compiled twice; only the link is another (native/portable): with libstdc++ in it,
// and for glibc from 2.28 on.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
const [program = 'g++', ...wrapped] = (process.env.CXX ?? 'g++').split(' ')
const objects = path.join(root, 'build', 'Release', 'obj.target')
const folder = path.join(root, 'prebuilds', `${process.platform}-${process.arch}`)

const ask = (question) =>
  execFileSync(process.execPath, [path.join(root, 'native/build/gyp-inputs.cjs'), question], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line !== '')
const objectOf = (target) => (source) => path.join(objects, target, source.replace(/\.cpp$/, '.o'))
const run = (command, ...args) => execFileSync(command, args, { cwd: root, stdio: 'inherit' })

if (spawnSync(process.execPath, [path.join(root, 'native/build/addon.mjs')], { stdio: 'inherit' }).status !== 0)
  process.exit(1)

const compat = ask('portable').map((source) => {
  const object = path.join(root, 'build', `${path.basename(source, '.cpp')}.${process.pid}.o`)
  run(program, ...wrapped, '-std=c++20', '-O2', '-fPIC', '-fvisibility=hidden', '-c', source, '-o', object)
  return object
})
mkdirSync(folder, { recursive: true })
const made = path.join(folder, 'rdma-checkpoint.glibc.node')
// Linked beside it and renamed: a process may have the old one loaded.
const beside = `${made}.${process.pid}`
run(
  wrapped.at(-1) ?? program,
  '-shared',
  '-pthread',
  '-Wl,--strip-all',
  '-o',
  beside,
  ...ask('addon').map(objectOf('rdma_checkpoint')),
  ...ask('sse42').map(objectOf('checksum_sse42')),
  ...compat,
  ...ask('portable-flags'),
  '-lpthread',
  '-ldl',
)
renameSync(beside, made)
for (const object of compat) rmSync(object)
