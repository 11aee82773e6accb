package io.winnow.core.evaluate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.winnow.core.InvalidInputException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class QuestionTest {
  private static final String CHOICE =
      "{\"context\": \"Q\", \"choices\": [\" a\", \" b\"], \"answer\": 1, \"id\": 7}";

  @TempDir private Path folder;

  private List<Question> read(String... lines) throws Exception {
    return Question.read(
        Files.writeString(folder.resolve("tasks.jsonl"), String.join("\n", lines)));
  }

  @Test
  void multipleChoiceQuestionsHaveContextChoicesAndAnswer() throws Exception {
    MultipleChoiceQuestion question = new MultipleChoiceQuestion("Q", List.of(" a", " b"), 1);
    assertThat(read(CHOICE, "", CHOICE)).containsExactly(question, question);
    assertThat(question.solved()).isEqualTo("Q b");
  }

  @Test
  void openQuestionsHaveOneOrSeveralAcceptedAnswers() throws Exception {
    assertThat(
            read(
                "{\"prompt\": \"Q:\", \"answer\": \"x\"}",
                "{\"prompt\": \"Q:\\n\", \"answer\": [\"x\", \"y\"]}"))
        .containsExactly(
            new OpenQuestion("Q:", List.of("x")), new OpenQuestion("Q:\n", List.of("x", "y")));
  }

  @Test
  void examplesAreSolvedAndSeparated() {
    List<OpenQuestion> examples =
        List.of(
            new OpenQuestion("Q: 1\nA:", List.of("one", "1")),
            new OpenQuestion("Q: 2\nA: ", List.of("two")),
            new OpenQuestion("never", List.of("used")));
    assertThat(Question.fewShot(examples, 2)).isEqualTo("Q: 1\nA: one\n\nQ: 2\nA: two\n\n");
    assertThat(Question.fewShot(examples, 0)).isEmpty();
    assertThatThrownBy(() -> Question.fewShot(examples, 4))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("4 examples are wanted of 3");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '~',
      value = {
        "{\"context\": 1                                             | is not valid JSON",
        "[1]                                                         | not a JSON object but an array",
        "{\"text\": \"x\"}                                           | neither \"choices\" nor \"prompt\"",
        "{\"choices\": [\"a\", \"b\"], \"answer\": 0}                | no field \"context\"",
        "{\"context\": \"\", \"choices\": \"ab\", \"answer\": 0}     | \"choices\" is a string",
        "{\"context\": \"\", \"choices\": [\"a\", 1], \"answer\": 0} | \"choices\" holds 1",
        "{\"context\": \"\", \"choices\": [\"a\"], \"answer\": 0}    | at least 2 choices",
        "{\"context\": \"\", \"choices\": [\"a\", \"\"], \"answer\": 0}  | choice 1 is empty",
        "{\"context\": \"\", \"choices\": [\"a\", \"b\"]}                | \"answer\" is missing",
        "{\"context\": \"\", \"choices\": [\"a\", \"b\"], \"answer\": \"0\"} | \"answer\" is a string",
        "{\"context\": \"\", \"choices\": [\"a\", \"b\"], \"answer\": 0.5}   | \"answer\" is 0.5",
        "{\"context\": \"\", \"choices\": [\"a\", \"b\"], \"answer\": 2}     | numbered from 0 to 1",
        "{\"prompt\": \"x\", \"answer\": \"y\"}                      | is of another kind",
      })
  void aWrongLineIsNamed(String line, String message) {
    assertThatThrownBy(() -> read(CHOICE, "", line))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageStartingWith("Line 3 of " + folder)
        .hasMessageContaining(message);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '~',
      value = {
        "{\"prompt\": \"\", \"answer\": \"y\"}   | the prompt is empty",
        "{\"prompt\": \"x\"}                     | no field \"answer\"",
        "{\"prompt\": \"x\", \"answer\": []}     | no accepted answer",
        "{\"prompt\": \"x\", \"answer\": [null]} | \"answer\" holds null",
      })
  void aWrongOpenQuestionIsNamed(String line, String message) {
    assertThatThrownBy(() -> read(line))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageStartingWith("Line 1 of " + folder)
        .hasMessageContaining(message);
  }

  @Test
  void aFileWithoutQuestionsIsRefused() {
    assertThatThrownBy(() -> read("", ""))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("holds no question");
    assertThatThrownBy(() -> Question.read(folder.resolve("none.jsonl")))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("No such file");
    assertThatThrownBy(() -> Question.read(folder))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("Not a file");
  }
}
