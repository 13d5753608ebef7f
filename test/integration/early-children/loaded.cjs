// Says what --import has loaded before the application's first line: modules, and libraries of which no two are one file.
const { existsSync, realpathSync } = require('node:fs')
const loaded = [...Object.keys(require.cache), ...process.report.getReport().sharedObjects].filter(existsSync)
process.send({ loaded: [...new Set(loaded.map((file) => realpathSync(file)))] })
process.disconnect()
