package io.winnow.examples;

import static org.assertj.core.api.Assertions.assertThat;

import io.winnow.core.internal.environment.WinnowVersion;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.apache.commons.compress.archivers.zip.ZipArchiveEntry;
import org.apache.commons.compress.archivers.zip.ZipFile;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

/** The zip for users, unpacked, on a machine with Java and nothing else. */
class DistributionIT {
  private static final Pattern THIRD_PARTY = Pattern.compile("([a-z0-9_-]+) +[A-Z].*");
  private static final Pattern STARTED = Pattern.compile("-D[\\w.]+=|io\\.winnow\\.[\\w.]+(?= )");
  private static final String OWN = "winnow-";

  @TempDir private static Path folder;

  private static Path home;

  private record Result(int code, String out, String err) {}

  @BeforeAll
  static void unpack() throws IOException {
    try (ZipFile zip = ZipFile.builder().setPath(Path.of(System.getProperty("winnow.zip"))).get()) {
      for (ZipArchiveEntry entry : Collections.list(zip.getEntries())) {
        Path file = folder.resolve(entry.getName());
        if (entry.isDirectory()) {
          Files.createDirectories(file);
          continue;
        }
        Files.createDirectories(file.getParent());
        try (InputStream in = zip.getInputStream(entry)) {
          Files.copy(in, file);
        }
        if ((entry.getUnixMode() & 0100) != 0) {
          assertThat(file.toFile().setExecutable(true)).as(entry.getName()).isTrue();
        }
      }
    }
    home = folder.resolve("winnow-" + WinnowVersion.get());
  }

  private static List<String> names(Path directory) throws IOException {
    try (Stream<Path> files = Files.list(directory)) {
      return files.map(f -> f.getFileName().toString()).sorted().toList();
    }
  }

  /** Runs the launcher with this Java, and with a PATH of the system's own tools. */
  private static Result winnow(String... args) throws Exception {
    List<String> command = new ArrayList<>(List.of(home.resolve("bin/winnow").toString()));
    command.addAll(List.of(args));
    Path err = folder.resolve("stderr");
    ProcessBuilder builder = new ProcessBuilder(command).directory(folder.toFile());
    builder
        .environment()
        .putAll(Map.of("JAVA_HOME", System.getProperty("java.home"), "PATH", "/usr/bin:/bin"));
    Process process = builder.redirectError(err.toFile()).start();
    String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    return new Result(process.waitFor(), out, Files.readString(err));
  }

  @Test
  void holdsWhatAUserNeedsAndNoSources() throws IOException {
    assertThat(names(home))
        .containsExactly("LICENSE", "README.txt", "THIRD-PARTY.txt", "bin", "demo", "lib");
    assertThat(names(home.resolve("bin"))).containsExactly("winnow", "winnow.bat");
    assertThat(Files.readString(home.resolve("bin/winnow.bat"))).doesNotContainPattern("[^\r]\n");
    assertThat(names(home.resolve("lib")))
        .anyMatch(jar -> jar.startsWith("pytorch-native-cpu-"))
        .noneMatch(jar -> jar.contains("jmh") || jar.contains("junit") || jar.contains("tests"));
    try (Stream<Path> files = Files.walk(home)) {
      assertThat(files.map(Path::toString)).noneMatch(f -> f.matches(".*(pom\\.xml|\\.java)"));
    }
  }

  @Test
  void namesTheLicenceOfEveryLibraryInIt() throws IOException {
    List<String> listed =
        Files.readAllLines(home.resolve("THIRD-PARTY.txt")).stream()
            .map(THIRD_PARTY::matcher)
            .filter(line -> line.matches())
            .map(line -> line.group(1))
            .toList();
    List<String> present =
        names(home.resolve("lib")).stream()
            .filter(jar -> !jar.startsWith(OWN))
            .map(jar -> jar.replaceFirst("-\\d.*", ""))
            .toList();
    assertThat(listed)
        .as("THIRD-PARTY.txt in examples/src/dist")
        .containsExactlyInAnyOrderElementsOf(present);
  }

  /** Returns the options for Java and the class that a launcher starts. */
  private static List<String> started(String launcher) throws IOException {
    String text = Files.readString(home.resolve("bin").resolve(launcher));
    return STARTED
        .matcher(text.substring(text.indexOf("-Dfile.encoding")))
        .results()
        .map(MatchResult::group)
        .toList();
  }

  @Test
  void bothLaunchersStartTheSame() throws IOException {
    assertThat(started("winnow")).contains("-Dwinnow.home=").isEqualTo(started("winnow.bat"));
  }

  @Test
  @DisabledOnOs(OS.WINDOWS)
  void runsWithJavaOnly() throws Exception {
    Result version = winnow("--version");
    assertThat(version.code()).as(version.err()).isZero();
    assertThat(version.out()).isEqualTo("winnow " + WinnowVersion.get() + "\n");
    Result generated =
        winnow(
            "generate",
            "--model",
            home.resolve("demo/tiny-mixtral").toString(),
            "--prompt",
            "def test_",
            "--max-tokens",
            "8");
    assertThat(generated.code()).as(generated.err()).isZero();
    assertThat(generated.out()).startsWith("def test_");
  }
}
