package io.winnow.examples.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** {@code examples/bin/winnow} in a repository with a Java and a Maven that only say so. */
@DisabledOnOs(OS.WINDOWS)
class LauncherTest {
  private static final String SOURCE = "core/src/main/Source.java";

  @TempDir private Path folder;

  private Path root;
  private Path java;
  private Path launcher;

  private record Result(int code, List<String> out, String err) {}

  @BeforeEach
  void createRepository() throws Exception {
    root = folder.toRealPath().resolve("a repository");
    java = folder.resolve("jdk");
    launcher = root.resolve("examples/bin/winnow");
    Files.createDirectories(launcher.getParent());
    Files.copy(Path.of("bin/winnow"), launcher);
    Files.createDirectories(root.resolve("core/src/main"));
    for (String file : List.of("pom.xml", "core/pom.xml", "examples/pom.xml", SOURCE)) {
      Files.writeString(root.resolve(file), "");
      Files.setLastModifiedTime(root.resolve(file), FileTime.from(Instant.EPOCH));
    }
    Files.createDirectories(root.resolve("examples/src/main"));
    script(
        root.resolve("mvnw"),
        "echo built \"$@\" >> builds",
        "if [ -e broken ]; then echo 'does not compile'; exit 1; fi",
        "mkdir -p examples/target/lib examples/target/bench/lib");
    javaOfVersion("17.0.15");
  }

  private Path script(Path file, String... lines) throws Exception {
    Files.createDirectories(file.getParent());
    Files.writeString(file, "#!/bin/sh\n" + String.join("\n", lines) + "\n");
    Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rwxr-xr-x"));
    return file;
  }

  private void javaOfVersion(String version) throws Exception {
    script(
        java.resolve("bin/java"),
        "if [ \"$1\" = -version ]; then echo 'openjdk version \"" + version + "\"' >&2; exit; fi",
        "pwd",
        "for word in \"$@\"; do echo \"$word\"; done");
  }

  private Result run(Path program, Path cwd, String... args) throws Exception {
    List<String> command = new ArrayList<>(List.of(program.toString()));
    command.addAll(List.of(args));
    ProcessBuilder builder = new ProcessBuilder(command).directory(cwd.toFile());
    Path err = folder.resolve("stderr");
    builder.redirectError(err.toFile());
    builder
        .environment()
        .putAll(Map.of("JAVA_HOME", java.toString(), "WINNOW_JAVA_OPTS", "-Xmx1g"));
    Process process = builder.start();
    List<String> out =
        new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8)
            .lines()
            .toList();
    return new Result(process.waitFor(), out, Files.readString(err));
  }

  private List<String> builds() throws Exception {
    return Files.readAllLines(root.resolve("builds"));
  }

  @Test
  void runsInTheCallersFolderAndHandsArgumentsOnAsTheyAre() throws Exception {
    Path cwd = Files.createDirectory(folder.resolve("some where"));
    Result result = run(launcher, cwd, "generate", "--prompt", "two  words *", "");
    assertThat(result.code()).as(result.err()).isZero();
    assertThat(result.out().get(0)).isEqualTo(cwd.toRealPath().toString());
    assertThat(result.out())
        .contains("-Xmx1g", "-Dwinnow.home=" + root.resolve("examples"), "-Dwinnow.terminal=false")
        .endsWith("io.winnow.examples.cli.Winnow", "generate", "--prompt", "two  words *", "");
    assertThat(result.err()).startsWith("Building winnow").hasLineCount(1);
  }

  @Test
  void worksThroughALinkInAFolderOfThePath() throws Exception {
    Path link = Files.createDirectory(folder.resolve("bin")).resolve("winnow");
    Files.createSymbolicLink(link, link.getParent().toRealPath().relativize(launcher));
    Result result = run(link, folder, "demo");
    assertThat(result.code()).as(result.err()).isZero();
    assertThat(result.out()).contains("-Dwinnow.home=" + root.resolve("examples"));
  }

  @Test
  void buildsOnceAndAgainWhenASourceHasChanged() throws Exception {
    run(launcher, folder);
    assertThat(run(launcher, folder).err()).isEmpty();
    assertThat(builds()).hasSize(1);
    Files.setLastModifiedTime(root.resolve(SOURCE), FileTime.from(Instant.now().plusSeconds(2)));
    run(launcher, folder);
    assertThat(builds()).hasSize(2);
  }

  @Test
  void whatJmhMeasuresIsBuiltBesideTheRestAndRunsFromThere() throws Exception {
    run(launcher, folder, "bench", "search");
    String plain = root.resolve("examples/target/classes") + ":";
    Result result = run(launcher, folder, "bench", "operations", "--model", "m");
    assertThat(result.out())
        .anyMatch(word -> word.startsWith(root.resolve("examples/target/bench/classes") + ":"))
        .noneMatch(word -> word.startsWith(plain))
        .endsWith("bench", "operations", "--model", "m");
    assertThat(builds()).hasSize(2);
    assertThat(builds().get(0)).doesNotContain("bench");
    assertThat(builds().get(1)).contains("-Pcpu,bench");
    assertThat(run(launcher, folder, "bench", "search").out())
        .anyMatch(word -> word.startsWith(plain));
    run(launcher, folder, "bench", "operations");
    assertThat(builds()).hasSize(2);
  }

  @Test
  void aFailedBuildIsToldAndDoneAgain() throws Exception {
    Files.writeString(root.resolve("broken"), "");
    Result broken = run(launcher, folder, "demo");
    assertThat(broken.code()).isEqualTo(2);
    assertThat(broken.out()).isEmpty();
    assertThat(broken.err()).contains("does not compile", "winnow: The build failed");
    Files.delete(root.resolve("broken"));
    assertThat(run(launcher, folder, "demo").code()).isZero();
    assertThat(builds()).hasSize(2);
  }

  @ParameterizedTest
  @CsvSource({"1.8.0_402, 8", "11.0.22, 11", "16, 16"})
  void anOlderJavaIsRefusedBeforeAndAfterTheBuild(String version, String number) throws Exception {
    javaOfVersion(version);
    Result before = run(launcher, folder, "demo");
    assertThat(before.code()).isEqualTo(2);
    assertThat(before.err())
        .contains("is Java " + number + "; winnow needs 17 or later")
        .hasLineCount(1);
    assertThat(root.resolve("builds")).doesNotExist();
    Path older = java;
    java = folder.resolve("newer");
    javaOfVersion("21");
    assertThat(run(launcher, folder, "demo").code()).isZero();
    java = older;
    assertThat(run(launcher, folder, "demo").code()).isEqualTo(2);
    assertThat(builds()).hasSize(1);
  }

  @Test
  void noJavaIsRefused() throws Exception {
    java = folder.resolve("none");
    Result result = run(launcher, folder, "demo");
    assertThat(result.code()).isEqualTo(2);
    assertThat(result.err()).contains("winnow: There is no '" + java).hasLineCount(1);
  }
}
