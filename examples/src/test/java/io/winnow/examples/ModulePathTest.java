package io.winnow.examples;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.common.base.Joiner;
import com.google.common.base.Splitter;
import java.io.File;
import java.io.StringWriter;
import java.lang.module.FindException;
import java.lang.module.ModuleFinder;
import java.lang.module.ModuleReference;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import javax.tools.JavaCompiler;
import javax.tools.StandardJavaFileManager;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A host with a {@code module-info.java}: Winnow and DJL lie on its module path. */
class ModulePathTest {
  private static final Path HOST = Path.of("src/test/resources/module-path-host");

  /** All that winnow-pruning and winnow-skipping bring. */
  private static final Set<String> MODULES =
      Set.of(
          "io.winnow.core",
          "io.winnow.pruning",
          "io.winnow.skipping",
          "ai.djl.api",
          "ai.djl.pytorch_engine",
          "ai.djl.pytorch_jni",
          "ai.djl.tokenizers",
          "com.google.common",
          "com.google.common.util.concurrent.internal",
          "com.google.errorprone.annotations",
          "com.google.gson",
          "com.sun.jna",
          "org.apache.commons.codec",
          "org.apache.commons.compress",
          "org.apache.commons.io",
          "org.jspecify",
          "org.slf4j",
          "org.slf4j.simple");

  private static final List<String> MODULE_PATH = new ArrayList<>();
  private static final List<String> CLASS_PATH = new ArrayList<>();

  @TempDir private Path folder;

  @BeforeAll
  static void divideThePath() {
    Set<String> found = new TreeSet<>();
    for (String entry :
        Splitter.on(File.pathSeparatorChar).split(System.getProperty("java.class.path"))) {
      Optional<String> module = module(Path.of(entry));
      if (module.filter(MODULES::contains).isPresent()) {
        MODULE_PATH.add(entry);
        found.add(module.get());
      } else if (entry.contains("pytorch-native-cpu")) {
        // DJL's manifest names a module that cannot be: ai.djl.pytorch_native_cpu_linux-x86_64.
        CLASS_PATH.add(entry);
      }
    }
    assertThat(found).containsExactlyInAnyOrderElementsOf(MODULES);
  }

  private static Optional<String> module(Path entry) {
    try {
      return ModuleFinder.of(entry).findAll().stream()
          .map(ModuleReference::descriptor)
          .map(descriptor -> descriptor.name())
          .findFirst();
    } catch (FindException e) {
      return Optional.empty();
    }
  }

  /** Returns what the compiler says. */
  private String compile(Path... sources) throws Exception {
    JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
    StringWriter messages = new StringWriter();
    List<String> options =
        List.of(
            "-d",
            folder.resolve("classes").toString(),
            "--module-path",
            Joiner.on(File.pathSeparatorChar).join(MODULE_PATH));
    try (StandardJavaFileManager files = compiler.getStandardFileManager(null, null, null)) {
      compiler
          .getTask(messages, files, null, options, null, files.getJavaFileObjects(sources))
          .call();
    }
    return messages.toString();
  }

  @Test
  void aModulePrunesSkipsTrainsAndGenerates() throws Exception {
    assertThat(compile(HOST.resolve("module-info.java"), HOST.resolve("host/Host.java"))).isEmpty();
    List<String> command =
        List.of(
            Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "-Xmx1g",
            "--module-path",
            folder.resolve("classes")
                + File.pathSeparator
                + Joiner.on(File.pathSeparatorChar).join(MODULE_PATH),
            "-cp",
            Joiner.on(File.pathSeparatorChar).join(CLASS_PATH),
            "-m",
            "host/host.Host",
            "demo/tiny-mixtral",
            "demo/text/code.calib.txt",
            Files.createDirectory(folder.resolve("out")).toString());
    Path err = folder.resolve("stderr");
    Process process = new ProcessBuilder(command).redirectError(err.toFile()).start();
    String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertThat(process.waitFor()).as(Files.readString(err)).isZero();
    assertThat(out.lines())
        .containsExactly(
            "layers 4",
            "steps 1",
            "tokens 4",
            "module io.winnow.core",
            "module io.winnow.pruning",
            "module io.winnow.skipping",
            "module ai.djl.api");
  }

  @Test
  void whatIsInternalIsNotSeen() throws Exception {
    Path source = Files.createDirectory(folder.resolve("peeping")).resolve("Peeping.java");
    Files.writeString(
        source, "package host; import io.winnow.core.internal.file.Json; class Peeping {}");
    assertThat(compile(HOST.resolve("module-info.java"), source))
        .contains("package io.winnow.core.internal.file is not visible");
  }
}
