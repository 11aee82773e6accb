package io.winnow.pruning.evolve;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.gson.JsonParser;
import io.winnow.core.InvalidInputException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Searches that are killed, continued, and shared by processes. */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class JournalTest {
  private static final String UNDISTURBED =
      FakeTask.search(FakeTask.inline(), 11).build().run().best().individual().digest();

  @TempDir private Path folder;

  private Path journal() {
    return folder.resolve("journal");
  }

  private Path evaluations() {
    return journal().resolve("evaluations.jsonl");
  }

  private Path log() {
    return folder.resolve("log");
  }

  private List<String> journalled() throws IOException {
    return Files.exists(evaluations())
        ? Files.readString(evaluations())
            .lines()
            .filter(line -> line.endsWith("}"))
            .map(line -> JsonParser.parseString(line).getAsJsonObject())
            .map(json -> json.get("individual").getAsString())
            .toList()
        : List.of();
  }

  private static String output(Process process) throws Exception {
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertThat(process.waitFor()).isZero();
    return output.strip();
  }

  /** Counts what is evaluated. */
  private static Fitness counting(AtomicInteger evaluations) {
    return Fitness.of(
        "fake",
        individual -> {
          evaluations.incrementAndGet();
          return FakeTask.fitness(individual);
        });
  }

  @Test
  void aSearchKilledTenTimesEndsLikeOneThatWasNot() throws Exception {
    Random random = new Random(1);
    int kills = 0;
    while (kills < 10) {
      int before = journalled().size();
      int until = before + 1 + random.nextInt(7);
      Process process = SearchProcess.start(journal(), log());
      while (process.isAlive() && journalled().size() < until) {
        Thread.sleep(0, 500_000);
      }
      process.destroyForcibly().waitFor(); // SIGKILL
      assertThat(journalled()).as("kill %d lost something", kills).hasSizeGreaterThan(before);
      kills++;
    }
    assertThat(output(SearchProcess.start(journal(), log()))).isEqualTo(UNDISTURBED);
    List<String> evaluated = Files.readAllLines(log());
    assertThat(journalled()).doesNotHaveDuplicates();
    assertThat(new HashSet<>(evaluated)).isEqualTo(new HashSet<>(journalled()));
    assertThat(evaluated)
        .as("evaluated anew: what was in flight when it was killed")
        .hasSizeLessThanOrEqualTo(journalled().size() + kills * SearchProcess.WORKERS);
  }

  @Test
  void processesShareAJournalAndOneOfThemMayBeKilled() throws Exception {
    List<Process> processes = new ArrayList<>();
    for (int i = 0; i < 3; i++) {
      processes.add(SearchProcess.start(journal(), folder.resolve("log" + i)));
    }
    while (journalled().size() < 20) {
      Thread.sleep(1);
    }
    processes.remove(0).destroyForcibly().waitFor();
    for (Process process : processes) {
      assertThat(output(process)).isEqualTo(UNDISTURBED);
    }
    List<String> evaluated = new ArrayList<>();
    for (int i = 0; i < 3; i++) {
      Path log = folder.resolve("log" + i);
      if (Files.exists(log)) {
        evaluated.addAll(Files.readAllLines(log));
      }
    }
    assertThat(journalled()).doesNotHaveDuplicates().hasSameElementsAs(new HashSet<>(evaluated));
    assertThat(evaluated).hasSizeLessThanOrEqualTo(journalled().size() + SearchProcess.WORKERS);
  }

  @Test
  void aFinishedSearchIsReadBackWithoutEvaluatingAnything() {
    AtomicInteger evaluations = new AtomicInteger();
    EvolutionReport first =
        FakeTask.search(counting(evaluations), 2).optJournal(journal()).build().run();
    assertThat(evaluations.getAndSet(0)).isEqualTo(84); // The best pruned one was known.
    EvolutionReport again =
        FakeTask.search(counting(evaluations), 2).optJournal(journal()).build().run();
    assertThat(evaluations).hasValue(0);
    assertThat(again.best()).isEqualTo(first.best());
    FakeTask.search(counting(evaluations), 2)
        .optMerging(SearchLimit.evaluations(50))
        .optJournal(journal())
        .build()
        .run();
    assertThat(evaluations).as("a longer search pays for the rest only").hasValue(5);
  }

  @Test
  void aTornLastLineIsEvaluatedAgain() throws IOException {
    AtomicInteger evaluations = new AtomicInteger();
    EvolutionReport first =
        FakeTask.search(counting(evaluations), 2).optJournal(journal()).build().run();
    byte[] whole = Files.readAllBytes(evaluations());
    try (var channel = Files.newByteChannel(evaluations(), StandardOpenOption.WRITE)) {
      channel.truncate(whole.length - 3);
    }
    evaluations.set(0);
    EvolutionReport again =
        FakeTask.search(counting(evaluations), 2).optJournal(journal()).build().run();
    assertThat(evaluations).hasValue(1);
    assertThat(again.best()).isEqualTo(first.best());
    assertThat(Files.readAllBytes(evaluations())).isEqualTo(whole);
  }

  @Test
  void aFitnessThatIsNotFiniteIsRemembered() {
    AtomicInteger evaluations = new AtomicInteger();
    Fitness never =
        Fitness.of(
            "fake",
            individual -> {
              evaluations.incrementAndGet();
              return Double.POSITIVE_INFINITY;
            });
    for (int i = 0; i < 2; i++) {
      EvolutionReport report = FakeTask.search(never, 2).optJournal(journal()).build().run();
      assertThat(report.best().fitness()).isNegative();
    }
    assertThat(evaluations).hasValue(84);
  }

  @Test
  void theJournalOfAnotherSearchIsRefusedAndLeftAlone() throws IOException {
    FakeTask.search(FakeTask.inline(), 2).optJournal(journal()).build().run();
    byte[] before = Files.readAllBytes(evaluations());
    assertThatThrownBy(
            () -> FakeTask.search(FakeTask.inline(), 3).optJournal(journal()).build().run())
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("seed is 2 there and 3 here")
        .hasMessageNotContaining("fitness is");
    assertThatThrownBy(
            () ->
                FakeTask.search(Fitness.of("other", FakeTask::fitness), 2)
                    .optJournal(journal())
                    .build()
                    .run())
        .hasMessageContaining("fitness is \"fake\" there and \"other\" here");
    assertThat(Files.readAllBytes(evaluations())).isEqualTo(before);
  }

  @Test
  void theJournalSaysItsKindAndOneOfVersion010WithoutItGoesOn() throws IOException {
    AtomicInteger evaluations = new AtomicInteger();
    FakeTask.search(counting(evaluations), 2).optJournal(journal()).build().run();
    Path search = journal().resolve("search.json");
    String text = Files.readString(search);
    String kind = "  \"kind\": \"winnow-evolution-journal\",\n";
    assertThat(text).contains(kind);
    Files.writeString(search, text.replace("winnow-evolution-journal", "winnow-pruning-report"));
    assertThatThrownBy(
            () -> FakeTask.search(FakeTask.inline(), 2).optJournal(journal()).build().run())
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("search.json is a pruning report (kind winnow-pruning-report), not")
        .hasMessageContaining("choose another folder");
    Files.writeString(search, text.replace(kind, ""));
    evaluations.set(0);
    FakeTask.search(counting(evaluations), 2).optJournal(journal()).build().run();
    assertThat(evaluations).hasValue(0);
  }

  @Test
  void aDamagedJournalIsRefused() throws IOException {
    FakeTask.search(FakeTask.inline(), 2).optJournal(journal()).build().run();
    Files.writeString(evaluations(), "{\"individual\": 3\n", StandardOpenOption.APPEND);
    assertThatThrownBy(
            () -> FakeTask.search(FakeTask.inline(), 2).optJournal(journal()).build().run())
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("damaged");
    Files.delete(journal().resolve("search.json"));
    assertThatThrownBy(
            () -> FakeTask.search(FakeTask.inline(), 2).optJournal(journal()).build().run())
        .hasMessageContaining("no search.json");
  }

  @Test
  void aFileInPlaceOfTheFolderIsRefused() throws IOException {
    Files.writeString(journal(), "");
    assertThatThrownBy(
            () -> FakeTask.search(FakeTask.inline(), 2).optJournal(journal()).build().run())
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("Cannot open the journal");
  }
}
